//! The column of a Parquet file that holds its images.

use parquet::basic::{ConvertedType, Type};
use parquet::file::metadata::FileMetaData;
use parquet::schema::types::ColumnDescriptor;

/// Whether the structs of this column have a field `path` beside the bytes. Some datasets fill only this field in some
/// rows, and the image is not in the file.
pub(crate) fn has_paths(file: &FileMetaData, column: usize) -> bool {
    let columns = file.schema_descr().columns();
    let parts = columns[column].path().parts();
    parts.len() == 2 && columns.iter().any(|leaf| leaf.path().parts() == [parts[0].as_str(), "path"])
}

/// The index of the leaf column that holds the encoded images.
///
/// It is the column `name` if that is given. Otherwise it is the first that exists of
/// 1. the column that the `huggingface` metadata declare as an image,
/// 2. the first column of structs with a field `bytes`,
/// 3. the first column of bytes with a usual name, such as `image`,
/// 4. the only column of bytes.
///
/// # Errors
/// A description of the columns of the file when it is none of them.
pub(crate) fn image_column(file: &FileMetaData, name: Option<&str>) -> Result<usize, String> {
    let columns = file.schema_descr().columns();
    let name_of = |i: &usize| columns[*i].path().parts()[0].as_str();
    let is_struct = |i: &usize| columns[*i].path().parts().len() == 2;
    let is_usual = |i: &usize| ["image", "img", "bytes", "jpg", "png", "picture"].contains(&name_of(i));
    let candidates: Vec<usize> = (0..columns.len()).filter(|i| holds_images(&columns[*i])).collect();
    let metadata = file.key_value_metadata().into_iter().flatten().find(|pair| pair.key == "huggingface");
    let declared = metadata.and_then(|pair| hub_image_feature(pair.value.as_deref()?));
    let first = |choose: &dyn Fn(&usize) -> bool| candidates.iter().copied().find(|i| choose(i));
    if let Some(wanted) = name {
        return first(&|i| name_of(i) == wanted).ok_or_else(|| {
            let names: Vec<&str> = candidates.iter().map(name_of).collect();
            format!("expected a column {wanted} of encoded images, found those in {}", names.join(", "))
        });
    }
    let chosen =
        first(&|i| Some(name_of(i)) == declared.as_deref()).or_else(|| first(&is_struct)).or_else(|| first(&is_usual));
    chosen.or_else(|| if candidates.len() == 1 { candidates.first().copied() } else { None }).ok_or_else(|| {
        let fields = file.schema_descr().root_schema().get_fields();
        let names: Vec<&str> = fields.iter().map(|field| field.name()).collect();
        format!("expected a column of encoded images, found the columns {}", names.join(", "))
    })
}

/// Whether a leaf column can hold images: it is a column of bytes, or the field `bytes` of a column of structs.
fn holds_images(column: &ColumnDescriptor) -> bool {
    let is_bytes = column.physical_type() == Type::BYTE_ARRAY
        && column.converted_type() == ConvertedType::NONE
        && column.logical_type_ref().is_none();
    let parts = column.path().parts();
    is_bytes && column.max_rep_level() == 0 && (parts.len() == 1 || (parts.len() == 2 && parts[1] == "bytes"))
}

/// The name of the image feature in the metadata of a Hub dataset: {"info": {"features": {NAME: {"_type": "Image"}}}}.
fn hub_image_feature(text: &str) -> Option<String> {
    let metadata: serde_json::Value = serde_json::from_str(text).ok()?;
    let features = metadata.get("info")?.get("features")?.as_object()?;
    let image = features.iter().find(|(_, feature)| feature.get("_type").is_some_and(|t| t == "Image"));
    image.map(|(name, _)| name.clone())
}
